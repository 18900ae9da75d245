with

ledger as (
    select * from {{ source('finance', 'ledger') }}
),

-- Sheets counts days since 1899-12-30 in the sheet's own zone. A number that is no day is null.
renamed as (
    select
        id as entry_id,
        _batch_id as batch_id,

        type as entry_type,
        item,
        `to` as counterparty,
        currency,
        source as account,
        notes,
        _extra as extra_json,

        coalesce(amount, safe_cast(json_value(_extra, '$.amount') as numeric)) as amount,

        coalesce(_is_deleted, false) as is_deleted,

        date_add(
            date '1899-12-30',
            interval if(date >= 1 and date < 2958466, cast(floor(date) as int64), null) day
        ) as entry_date,
        -- A second short of midnight, where rounding would reach it.
        time_add(
            time '00:00:00',
            interval cast(least(round((time - floor(time)) * 86400), 86399) as int64) second
        ) as entry_time,
        datetime_add(
            datetime '1899-12-30 00:00:00',
            interval if(
                created_at >= 1 and created_at < 2958465,
                cast(round(created_at * 86400) as int64),
                null
            ) second
        ) as created_at_manila,
        datetime_add(
            datetime '1899-12-30 00:00:00',
            interval if(
                updated_at >= 1 and updated_at < 2958465,
                cast(round(updated_at * 86400) as int64),
                null
            ) second
        ) as updated_at_manila,
        _inserted_at as inserted_at,
    from ledger
),

final as (
    select * from renamed
)

select * from final
